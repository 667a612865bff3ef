"""A plugin for ecg-signals: one file and one decorator per thing."""
