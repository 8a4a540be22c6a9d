"""Images: recipes that draw them, readers that find them, packs that keep them, and the order of training."""
