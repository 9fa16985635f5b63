"""Labels of a person out of a session and into one: CSV, a folder for each class, Label Studio; how far people agree."""
