"""One variation with LiteLLM's SDK; prints what came of it."""

import os
from pathlib import Path

# Its own list of prices will do: by itself it waits for one from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

try:
    with Path(os.environ["IMAGE"]).open("rb") as image:
        answer = litellm.image_variation(
            image=image,
            # LiteLLM takes the first part for the kind of server.
            model="openai/" + os.environ["MODEL"],
            api_base=os.environ["BASE_URL"] + "/v1",
            api_key="unused",
            size=os.environ["SIZE"],
        )
    print("made", len(answer.data))
except Exception as error:
    if not getattr(error, "status_code", None):
        raise
    print("failed", error.status_code)
