"""A valid OpenAPI document with something of everything."""

ITEM = {"$ref": "#/components/schemas/Item"}
LIMIT = {
    "name": "limit",
    "in": "query",
    "style": "form",
    "explode": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
}
RICH = {
    "openapi": "3.1.0",
    "paths": {
        "/items/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "summary": "One",
                "operationId": "get_item",
                "deprecated": True,
                "parameters": [
                    LIMIT,
                    {"name": "filter", "in": "query", "content": {"application/json": {"schema": {}}}},
                ],
                "responses": {
                    "200": {
                        "description": "it",
                        "headers": {"etag": {"$ref": "#/components/headers/Tag"}},
                        "content": {"application/json": {"schema": ITEM}},
                    },
                    "4XX": {"$ref": "#/components/responses/Problem"},
                },
            },
            "put": {
                "requestBody": {"$ref": "#/components/requestBodies/Item"},
                "responses": {"default": {"description": "done"}},
            },
        }
    },
    "components": {
        "schemas": {
            "Item": {
                "type": "object",
                "required": ["id", "kind"],
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "kind": {"enum": ["a", "b"], "default": "a"},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                    "parts": {"type": "array", "items": ITEM, "minItems": 0},
                    "more": {"oneOf": [ITEM, True], "deprecated": True},
                },
                "additionalProperties": False,
                "discriminator": {"propertyName": "kind", "mapping": {"a": "#/components/schemas/Item"}},
            }
        },
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}},
        "requestBodies": {"Item": {"content": {"application/json": {"schema": ITEM}}}},
        "responses": {"Problem": {"description": "a problem", "content": {"a/b": {"example": {"x": 1}}}}},
        "headers": {"Tag": {"description": "a tag", "schema": {"type": "string"}}},
        "examples": {"E": {"summary": "s", "value": [1]}},
    },
}
