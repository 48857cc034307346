"""Pages of tables and pictures as one HTML file each, for whatever has figures to show."""
