"""The files of a dossier: its page, its data, and the answer to the complaint."""
