//! What all messages have: who sends them, and values of any shape.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    resource::v1::Resource,
};
use serde_json::Value as Json;

const NAME: &str = "bleedtrace";

/// Who sends: the agent, not what it traces. The machine tells agents apart.
pub(super) fn resource() -> Resource {
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy();
    Resource {
        attributes: vec![
            text("service.name", NAME),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &machine),
            text("host.name", &machine),
        ],
        ..Resource::default()
    }
}

/// What part of it.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// A text with a name.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, &Json::from(value))
}

/// A value with a name.
pub(super) fn attribute(key: &str, value: &Json) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

/// A value of JSON as it is there. What is null there has no value here.
pub(super) fn any(value: &Json) -> AnyValue {
    let value = match value {
        Json::Null => None,
        Json::Bool(value) => Some(Value::BoolValue(*value)),
        Json::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::IntValue(number),
            (None, number) => Value::DoubleValue(number.unwrap_or_default()),
        }),
        Json::String(text) => Some(Value::StringValue(text.clone())),
        Json::Array(values) => Some(Value::ArrayValue(ArrayValue {
            values: values.iter().map(any).collect(),
        })),
        Json::Object(members) => Some(Value::KvlistValue(KeyValueList {
            values: members.iter().map(|(key, value)| attribute(key, value)).collect(),
        })),
    };
    AnyValue { value }
}
