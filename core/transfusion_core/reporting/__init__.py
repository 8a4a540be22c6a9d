"""From results to an answer: long tables, charts and words. No torch: the API renders with it, workers compute."""
