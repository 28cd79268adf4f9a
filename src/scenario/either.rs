//! Values that are written either short, as a string, or long, as a table.
//!
//! serde's `untagged` would do this in one line and answer every mistake with "data did not match any variant";
//! these visitors keep the error of the form that was written.

/// `Deserialize` for `$type`: a string is handed to `$from_text`, a table is read as `$table` and handed to `$from_table`.
/// Both return `Result<$type, impl Display>`.
macro_rules! text_or_table {
    ($type:ty, $expecting:literal, text: $from_text:expr, table $table:ty: $from_table:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Either;
                impl<'de> serde::de::Visitor<'de> for Either {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        let from_text: fn(&str) -> Result<$type, String> = $from_text;
                        from_text(text).map_err(E::custom)
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        let table = <$table as serde::Deserialize>::deserialize(
                            serde::de::value::MapAccessDeserializer::new(map),
                        )?;
                        let from_table: fn($table) -> Result<$type, String> = $from_table;
                        from_table(table).map_err(serde::de::Error::custom)
                    }
                }
                deserializer.deserialize_any(Either)
            }
        }
    };
}
pub(crate) use text_or_table;

/// JSON Schema for a value that is a string or one of `$table`'s tables.
macro_rules! text_or_table_schema {
    ($type:ty, $name:literal, $text:expr, $table:ty) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let table = generator.subschema_for::<$table>();
                schemars::json_schema!({ "anyOf": [{ "type": "string", "description": $text }, table] })
            }
        }
    };
}
pub(crate) use text_or_table_schema;
