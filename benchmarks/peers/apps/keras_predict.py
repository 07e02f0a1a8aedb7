"""FastAPI with Keras' `model.predict`, as in tutorials."""

import io
import os
from typing import Any

import keras
import numpy as np
from fastapi import FastAPI, Request
from PIL import Image

app = FastAPI()
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.TFSMLayer(os.environ["SAVED_MODEL"], call_endpoint="serving_default"),
    ]
)


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Answer the probabilities of an image in the body, or of JSON instances."""
    if request.headers["content-type"] == "application/json":
        pixels = np.array((await request.json())["instances"], np.float32)
    else:
        pixels = np.asarray(Image.open(io.BytesIO(await request.body())), np.float32)
    images = pixels.reshape(-1, 28, 28, 1) / np.float32(255)
    outputs = model.predict(images, verbose=0)
    return {"predictions": outputs["probabilities"].tolist()}
