"""The schema registry: from the ids on records to plans that read them (`registry/records.py: RegistryRecords`)."""
