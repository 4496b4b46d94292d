"""The REST door: requests as forms and JSON, answers as JSON and Server-Sent Events."""
