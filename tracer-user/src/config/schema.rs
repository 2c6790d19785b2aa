//! The configuration as a JSON schema, for editors.

use serde_json::{Map, Value, json};

use super::{
    Tier,
    keys::{FILE, Key, Shape},
};
use crate::correlate::finding::Kind;

/// The schema of a configuration file.
pub fn schema() -> Value {
    let mut schema = table(&FILE);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("bleedtrace configuration");
    schema
}

fn table(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let mut shape = shape(key.shape);
            shape["description"] = json!(key.about);
            (key.name.to_owned(), shape)
        })
        .collect();
    let required: Vec<&str> = keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    let mut table = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

fn shape(shape: Shape) -> Value {
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Address => json!({"type": "string", "pattern": "^.+:[0-9]+$"}),
        Shape::Time => json!({"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Texts => texts(),
        Shape::Empties => json!({"anyOf": [texts(), {"type": "object", "additionalProperties": texts()}]}),
        Shape::Globs => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Shape::Kind => {
            json!({"type": "string", "enum": Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>()})
        }
        Shape::Tier => json!({"type": "string", "enum": Tier::ALL.map(Tier::name)}),
        Shape::Table(keys) => table(keys),
        Shape::Tables(keys) => json!({"type": "array", "items": table(keys)}),
    }
}
