"""What commands share: options, notes and errors, progress, files out, Ray."""
