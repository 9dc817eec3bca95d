"""The board as text: terminal, Markdown, LaTeX, CSV, JSON."""
