"""What every Muniment service process needs: config files, HTTP, metrics, the ready line."""
