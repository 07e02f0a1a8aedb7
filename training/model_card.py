"""MODEL_CARD.md: the model for people, every figure from the run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.card_template import ABLATION, PHOTO_NOTE, PHOTOGRAPHS, SEEDS, TEACHERS, TEMPLATE


def write_model_card(path: Path, manifest: dict[str, Any]) -> None:
    """Write the card of a version from its manifest."""
    path.write_text(render(manifest), encoding="utf-8")


def render(manifest: dict[str, Any]) -> str:
    """Return the card as Markdown behind the YAML front matter that Hugging Face reads."""
    scores, training = manifest["scores"], manifest["training"]
    fit = training["configuration"]["fit"]
    augmentation = training["configuration"]["augmentation"]
    temperature = scores["calibration"]["temperature"]
    int8_note = ", `model.int8.tflite` the first two with int8 weights"
    return TEMPLATE.format(
        name=manifest["name"],
        version=manifest["version"],
        classes=", ".join(manifest["class_names"]),
        total=manifest["parameters"]["total"],
        summary=manifest["summary"],
        scale=manifest["input"]["scale"],
        int8_note=int8_note if scores["parity"]["int8"]["shipped"] else "",
        data_set=manifest["data_set"]["name"],
        training_note="28×28 greyscale pictures of ten kinds of clothing, by Zalando Research",
        digests="\n".join(
            f"- `{name}`: `{digest}`" for name, digest in manifest["data_set"]["sha256"].items()
        ),
        photo_note=PHOTO_NOTE if augmentation["photo_share"] else "",
        optimisation=_optimisation(fit),
        augmentation=_augmentation(augmentation),
        calibrated=f", calibrated with temperature {temperature:.3f}" if fit["calibrate"] else "",
        batch_size=fit["batch_size"],
        validation=fit["validation_fraction"],
        stratified="stratified by class" if fit["stratify"] else "not stratified",
        seed=fit["seed"],
        split_seed=fit["split_seed"],
        teachers=_teachers(training["configuration"]["distillation"], scores),
        patience=fit["patience"],
        most_epochs=fit["epochs"],
        epochs=training["epochs"],
        kept_epoch=training["kept_epoch"],
        validation_accuracy=training["validation_accuracy"],
        images=scores["test"]["images"],
        accuracy=scores["test"]["accuracy"],
        loss=scores["test"]["loss"],
        calibration=scores["calibration"]["expected_calibration_error"],
        bins=scores["calibration"]["bins"],
        layer=scores["novelty"]["layer"],
        threshold=scores["novelty"]["threshold"],
        validation_alarms=scores["novelty"]["false_alarms"]["validation"],
        test_alarms=scores["novelty"]["false_alarms"]["test"],
        outliers="\n".join(_outlier_rows(scores)),
        photographs=_photographs(scores["photographs"]) if "photographs" in scores else "",
        table="\n".join(_class_row(name, row) for name, row in scores["classes"].items()),
        parity="\n".join(_parity_row(name, scores["parity"][name]) for name in ("float32", "int8")),
        experiments=_experiments(scores),
        libraries="\n".join(f"- {name} {value}" for name, value in manifest["libraries"].items()),
    )


def _optimisation(fit: dict[str, Any]) -> str:
    """Return what the weights were fitted with."""
    optimizer = f"AdamW (weight decay {fit['weight_decay']})" if fit["weight_decay"] else "Adam"
    rate = f"learning rate {fit['learning_rate']}"
    if fit["schedule"] == "cosine":
        rate = f"{rate} at its highest, cosine schedule"
    smoothing = fit["label_smoothing"]
    loss = f"cross-entropy with label smoothing {smoothing}" if smoothing else "cross-entropy"
    normalised = ", batch normalisation folded into the weights" * fit["batch_normalization"]
    precision = ", in bfloat16 where the processor has it" if fit["mixed_precision"] else ""
    return f"{optimizer}, {rate}, {loss}{normalised}{precision}"


def _augmentation(augmentation: dict[str, Any]) -> str:
    """Return what was done to the training images, a sentence or nothing."""
    changes = []
    if augmentation["flip"]:
        changes.append("flipped")
    if augmentation["shift"]:
        changes.append(f"shifted by up to {augmentation['shift']} pixels")
    if augmentation["erase"]:
        changes.append(f"partly erased ({augmentation['erase']:.0%} of them)")
    sentence = f"Images are {', '.join(changes)} at random." if changes else ""
    if share := augmentation["photo_share"]:
        sentence += (
            f" {share:.0%} of each batch are instead warped, shaded and creased as photographs are "
            "after the service's preparation; no photograph was used."
        )
    return sentence.strip()


def _teachers(distillation: dict[str, Any] | None, scores: dict[str, Any]) -> str:
    """Return whom the network learnt from, a sentence or nothing."""
    if distillation is None:
        return ""
    rounds, teacher = distillation["rounds"], distillation["teacher"]
    more = ""
    if distillation["mirror"] == "shown":
        more = "A view that comes round again is shown as its mirror image. "
    if held_out := teacher["validation_fraction"]:
        more += (
            f"{held_out:.0%} of the training images are held out from all teachers, who answer "
            "those of them that the network learns from. "
        )
    if teacher["augmentation"]:
        more += f"What the teachers learn from: {_augmentation(teacher['augmentation'])} "
    return TEACHERS.format(
        dealt=f", which are dealt {rounds} times" if rounds > 1 else "",
        turns=f" that the {rounds} sets of teachers take turns with" if rounds > 1 else "",
        more=more,
        labels=distillation["label_share"],
        folds=distillation["folds"],
        epochs=distillation["teacher"]["fit"]["epochs"],
        views=distillation["views"],
        temperature=distillation["temperature"],
        alone=", ".join(f"{each:.2%}" for each in scores["teachers"]["accuracies"]),
        **scores["teachers"],
    )


def _class_row(name: str, row: dict[str, Any]) -> str:
    figures = " | ".join(f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
    return f"| {name} | {figures} | {row['support']:,} |"


def _outlier_rows(scores: dict[str, Any]) -> Iterator[str]:
    rows = dict(scores["novelty"]["outliers"])
    if "photographs" in scores:
        without_a_class = scores["photographs"]["without_a_class"]
        rows[f"photographs of {', '.join(without_a_class['kinds'])}"] = without_a_class
    for name, row in rows.items():
        yield (
            f"| {name} | {row['images']:,} | {row['auroc']:.3f} | "
            f"{row['auroc_of_confidence']:.3f} | {row['detected']:.1%} |"
        )


def _experiments(scores: dict[str, Any]) -> str:
    """Return what was measured of the recipe beyond this run, as far as it was."""
    text = ""
    if ablation := scores.get("ablation"):
        rows = [
            f"| {step['added']} | {step['validation_accuracy']:.4f} |" for step in ablation["steps"]
        ]
        text += ABLATION.format(
            recipe=ablation["recipe"],
            epochs=ablation["epochs"],
            seed=ablation["seed"],
            rows="\n".join(rows),
        )
    if seeds := scores.get("seeds"):
        rows = [
            f"| {name} | {row['mean']:.4f} | {row['standard_deviation']:.4f} |"
            for name, row in seeds["measures"].items()
        ]
        text += SEEDS.format(
            recipe=seeds["recipe"],
            count=len(seeds["seeds"]),
            seeds=", ".join(map(str, seeds["seeds"])),
            rows="\n".join(rows),
        )
    return text


def _photographs(scores: dict[str, Any]) -> str:
    return PHOTOGRAPHS.format(
        images=scores["images"],
        count=len(scores["kinds"]),
        macro=scores["macro_average"],
        kinds=", ".join(f"{kind} {share:.0%}" for kind, share in scores["kinds"].items()),
        novel=scores["called_novel"],
    )


def _parity_row(name: str, row: dict[str, Any]) -> str:
    return (
        f"| {name} | {row['accuracy']:.4f} | {row['label_agreement']:.2%} | "
        f"{row['max_probability_difference']:.1e} | {row['novelty_agreement']:.2%} | "
        f"{'yes' if row['shipped'] else 'no'} |"
    )
