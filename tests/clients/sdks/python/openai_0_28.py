"""One variation with openai 0.28, whose interface was another one; prints what came of it."""

import os
from pathlib import Path

import openai

openai.api_key = "unused"
openai.api_base = os.environ["BASE_URL"] + "/v1"
try:
    with Path(os.environ["IMAGE"]).open("rb") as image:
        answer = openai.Image.create_variation(image=image, model=os.environ["MODEL"], size=os.environ["SIZE"])
    print("made", len(answer["data"]))
except openai.error.OpenAIError as error:
    print("failed", error.http_status)
