"""What a change is, which edits and patches are allowed, and when one may be called verified; pure, without I/O."""
