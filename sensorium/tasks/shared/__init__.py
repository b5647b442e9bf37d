"""What several tasks have in common, as classes that they inherit from. A module here is no task."""
