"""Record the responses to the requests in tf_serving/ again, after a new model is shipped.

    python -m tests.data.renew_tf_serving

A change in anything but numbers is a change of the protocol: check it against its documents.
"""

import json

from service.settings import Settings
from tests.conftest import DATA
from tests.service.conftest import ARTIFACTS, serve


def main() -> None:
    with serve(Settings(artifacts=ARTIFACTS, engine="tensorflow")) as client:
        for path in sorted((DATA / "tf_serving").glob("*.json")):
            case = json.loads(path.read_text())
            content = json.dumps(case["request"]) if "request" in case else None
            response = client.request(case["method"], case["path"], content=content)
            answer = response.json()
            if "ready" in answer:  # KServe's fields at the same path.
                del answer["name"], answer["ready"]
            case |= {"status": response.status_code, "answer": answer}
            lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in case.items()]
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
