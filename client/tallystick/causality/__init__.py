"""What was read before something was written: gathered, sent along, compared, and looked after."""
