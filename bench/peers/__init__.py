"""The peers: their installation in the scratch folder, and their configuration."""
