//! The JSON Schema of a scenario, derived from its types: for editors, and for the loader, which checks the shape of a
//! file against it. So the keys that an error lists are the keys that serde takes.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{SCHEMA, Scenario};

/// Names of metrics in `[expect]`: their first word, and what may follow it. `plan` reads them exactly.
const METRICS: &str = "^(planned|published|confirmed|nacked|returned|unconfirmed|sent|unsent|delivered|consumed|lost|\
possibly_lost|recovered|duplicates|republished|redelivered|unflagged|redelivered_flag|requeued|rejected|retried|\
phantom|corrupt|misordered|dead_lettered|removed_by_rule|left_in_queue|effects_applied|effects_repeated|\
effects_missing|effects_unknown|disconnects|blocked|fates_foretold|fates_differing|fates_unexplained|attempts|\
attempts_max|follow_ups_missing|follow_ups_repeated|ids_missing|ids_crossed)(\\..+)?$|\
^(end_to_end|end_to_end_from_send|confirm|confirm_from_send|schedule_lag|time_to_dead_letter|retry_delay|\
retry_late|head_of_line)(\\..+)?\
\\.(p[0-9.]+|min|max|mean|count)$|\
^throughput\\.(published|confirmed|delivered|consumed)(\\..+)?$|\
^(backlog|broker_cpu|broker_memory|generator_cpu|generator_memory)\\.(max|mean|end)$|\
^queue_depth\\..+\\.(max|end)$|^queue_above\\.[0-9]+\\..+$|^queue_growing\\..+$";

static SCHEMA_VALUE: LazyLock<Value> = LazyLock::new(build);

/// The JSON Schema (draft 2020-12) of a scenario file.
pub fn json_schema() -> Value {
    SCHEMA_VALUE.clone()
}

/// The same, shared.
pub(super) fn shared() -> &'static Value {
    &SCHEMA_VALUE
}

fn build() -> Value {
    let mut schema = schemars::schema_for!(Scenario).to_value();
    without_nulls(&mut schema);
    let properties = &mut schema["properties"];
    properties["schema"] =
        json!({ "description": "Version of the scenario format.", "type": "integer", "const": SCHEMA });
    properties["expect"] = expectations();
    schema["title"] = json!("lurcher scenario");
    schema
}

fn expectations() -> Value {
    json!({
        "description": "What must hold for the verdict `pass`: metrics of the record against bounds, \
            such as `\"end_to_end.p99\" = \"<= 250ms\"` or `lost = 0`.",
        "type": "object",
        "properties": {
            "guarantee": {
                "description": "`at-most-once`: no duplicate. `at-least-once`: nothing lost. `effectively-once`: nothing \
                    lost, and each effect applied exactly once; needs `idempotency` in every consumer.",
                "type": "string",
                "enum": ["at-most-once", "at-least-once", "effectively-once"],
            },
            "ordered": { "description": "Nothing misordered.", "type": "boolean" },
        },
        "patternProperties": {
            METRICS: {
                "description": "A number that it must equal, or a comparison such as `<= 250ms`.",
                "type": ["number", "boolean", "string"],
            },
        },
        "additionalProperties": false,
    })
}

/// TOML has no null: what may be left out is left out.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            drop_null_type(object);
            drop_null_alternative(object);
            object.values_mut().for_each(without_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn drop_null_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get_mut("type") else { return };
    types.retain(|name| name != "null");
    if let [only] = types.as_slice() {
        let only = only.clone();
        object.insert("type".to_owned(), only);
    }
}

fn drop_null_alternative(object: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = object.get_mut("anyOf") else { return };
    alternatives.retain(|alternative| alternative["type"] != "null");
    if let [Value::Object(only)] = alternatives.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_a_scenario_is() {
        let schema = json_schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["properties"]["schema"]["const"], 1);
        assert_eq!(schema["required"], json!(["schema", "name"]));
        assert!(!schema.to_string().contains("\"null\""));
    }

    #[test]
    fn every_table_refuses_unknown_keys_and_every_key_is_described() {
        let schema = json_schema();
        let mut tables = vec![("the root", &schema)];
        tables.extend(schema["$defs"].as_object().expect("definitions").iter().map(|(name, def)| (name.as_str(), def)));
        for (name, table) in tables {
            let Some(properties) = table["properties"].as_object() else { continue };
            assert_eq!(table["additionalProperties"], false, "{name}");
            for (key, property) in properties {
                assert!(property["description"].is_string(), "{name}.{key} has no description");
            }
        }
    }
}
