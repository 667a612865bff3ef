"""What stands on an encoder: `classifier` on any, and heads whose published weights have a form of their own."""
