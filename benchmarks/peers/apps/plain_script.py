"""The minimal script of about twenty lines: FastAPI and LiteRT."""

import io
import os
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from fastapi import FastAPI, Request
from PIL import Image

app = FastAPI()
interpreter = Interpreter(os.environ["FLATBUFFER"], num_threads=1)
network = interpreter.get_signature_runner("serving_default")
names = [str(number) for number in range(10)]


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Answer label and probabilities of an image in the body, or of JSON instances."""
    if request.headers["content-type"] == "application/json":
        pixels = np.array((await request.json())["instances"], np.float32)
    else:
        image = Image.open(io.BytesIO(await request.body())).convert("L").resize((28, 28))
        pixels = np.asarray(image, np.float32)
    rows = network(images=pixels.reshape(-1, 28, 28, 1) / np.float32(255))["probabilities"]
    return {
        "predictions": [
            {"label": names[int(row.argmax())], "probabilities": row.tolist()} for row in rows
        ]
    }
