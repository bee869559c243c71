"""All that draws, or needs Jupyter; nothing outside this folder does."""
