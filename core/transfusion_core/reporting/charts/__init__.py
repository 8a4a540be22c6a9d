"""One function per figure, from the long table to a Vega-Lite specification. The table redraws every chart."""
