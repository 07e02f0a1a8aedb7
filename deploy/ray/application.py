"""The service as a Ray Serve application: the same routes, the same core, Ray's replicas.

    serve run deploy.ray.application:application      # on a laptop
    serve deploy deploy/ray/serve.yaml                # on a running cluster

Settings come from the environment, as everywhere: FASHION_ARTIFACTS, FASHION_ENGINE, ….
"""

from fastapi import FastAPI
from ray import serve

from service.app import create_app


def loaded_app() -> FastAPI:
    """Return the application with its model loaded, because Ray sends requests immediately.

    Raises:
        ArtifactError: There is nothing to serve; Ray reports the deployment as failed.
    """
    app = create_app()
    app.state.repository.open()
    return app


@serve.deployment(
    name="fashion-mnist",
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=64,
    graceful_shutdown_timeout_s=30,
    health_check_period_s=2,
    autoscaling_config={
        "min_replicas": 1,
        "max_replicas": 16,
        "target_ongoing_requests": 4,
        "upscale_delay_s": 2,
        "downscale_delay_s": 60,
    },
)
@serve.ingress(loaded_app)
class FashionMnist:
    """One replica; the application does all of its work."""


application = FashionMnist.bind()  # type: ignore[attr-defined]  # Ray's decorator adds it
