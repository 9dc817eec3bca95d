"""Where rows come from and how they are split: sources, files, images, the fair split."""
