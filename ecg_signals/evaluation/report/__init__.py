"""What an evaluation is shown as: one HTML page that needs nothing but itself."""
