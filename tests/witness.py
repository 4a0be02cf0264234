"""Reads what agira-worker wrote, with the client that Agira uses and in the way Agira does; prints what it saw as JSON.

Usage: witness.py < question.json, where the server is: 127.0.0.1, ports 8080 and 50051.
"""

import json
import sys

import weaviate
from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.init import AdditionalConfig, Timeout
from weaviate.classes.query import Filter, HybridFusion

# What Agira's source says of its class, with what it asks to be left out of vectors.
PROPERTIES = [
    ("type", DataType.TEXT, False),
    ("object_id", DataType.TEXT, False),
    ("project_id", DataType.TEXT, True),
    ("org_id", DataType.TEXT, True),
    ("title", DataType.TEXT, False),
    ("text", DataType.TEXT, False),
    ("created_at", DataType.DATE, False),
    ("updated_at", DataType.DATE, False),
    ("status", DataType.TEXT, True),
    ("url", DataType.TEXT, True),
    ("source_system", DataType.TEXT, True),
    ("external_key", DataType.TEXT, True),
    ("parent_object_id", DataType.TEXT, True),
    ("mime_type", DataType.TEXT, True),
    ("size_bytes", DataType.INT, False),
    ("sha256", DataType.TEXT, True),
]


def definition(collection):
    config = collection.config.get().to_dict()
    config.pop("class")
    config["properties"] = {one["name"]: one for one in config["properties"]}
    return config


def plain(properties):
    """Nulls as absent and times as text, so that they can be compared with what was sent."""
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in properties.items()
        if value is not None
    }


def main():
    question = json.load(sys.stdin)
    client = weaviate.connect_to_local(
        host="127.0.0.1",
        skip_init_checks=True,
        additional_config=AdditionalConfig(timeout=Timeout(init=30, query=30, insert=30)),
    )
    with client:
        ours = client.collections.get("AgiraObject")
        agiras = client.collections.create(
            "CreatedByAgira",
            vectorizer_config=Configure.Vectorizer.none(),
            properties=[
                Property(name=name, data_type=data_type, skip_vectorization=skipped)
                for name, data_type, skipped in PROPERTIES
            ],
        )
        by_id = {}
        for uuid in question["uuids"]:
            found = ours.query.fetch_object_by_id(uuid, include_vector=True)
            by_id[uuid] = found and {"properties": plain(found.properties), "vector": found.vector.get("default")}
        of_project = Filter.by_property("project_id").equal(question["project_id"])
        of_type = Filter.by_property("type").equal(question["type"])
        filtered = ours.query.fetch_objects(filters=of_project & of_type, limit=100)
        bm25 = ours.query.bm25(query=question["words"], filters=of_project, limit=10)
        hybrid = ours.query.hybrid(
            query=question["words_that_nobody_has"],
            vector=question["vector"],
            alpha=0.5,
            fusion_type=HybridFusion.RELATIVE_SCORE,
            filters=of_type,
            limit=1,
        )
        seen = {
            "by_id": by_id,
            "filtered": sorted(str(one.uuid) for one in filtered.objects),
            "bm25": [str(one.uuid) for one in bm25.objects],
            "hybrid": [str(one.uuid) for one in hybrid.objects],
            "ours": definition(ours),
            "agiras": definition(agiras),
        }
        # As Agira updates one of its objects, which is there: replace, without looking.
        uuid = question["uuids"][0]
        ours.data.replace(uuid=uuid, properties={**by_id[uuid]["properties"], "title": "Replaced by Agira"})
        seen["replaced"] = ours.query.fetch_object_by_id(uuid).properties["title"]
        client.collections.delete("CreatedByAgira")
    json.dump(seen, sys.stdout)


main()
