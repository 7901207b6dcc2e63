//! Reads the values of what a collector has received.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};
use opentelemetry_proto::tonic::trace::v1::Span;

/// An attribute of a span, as text.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    text_of(&span.attributes, key)
}

/// An attribute, as text.
pub(crate) fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| text(attribute.value.as_ref()))
}

fn text(value: Option<&AnyValue>) -> String {
    match value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text.clone(),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        Some(AnyValue { value: Some(Value::BoolValue(is)) }) => is.to_string(),
        other => format!("{other:?}"),
    }
}

/// The value of a metric, summed over the series that have these attributes: of a histogram, how often
/// it was recorded. `None` without such a series.
pub(crate) fn value(metrics: &[Metric], name: &str, attributes: &[(&str, &str)]) -> Option<f64> {
    let has =
        |of_point: &[KeyValue]| attributes.iter().all(|(key, value)| text_of(of_point, key).as_deref() == Some(*value));
    let number = |point: &NumberDataPoint| match point.value {
        Some(Number::AsInt(number)) => number as f64,
        Some(Number::AsDouble(number)) => number,
        None => panic!("{name} has a point without a value"),
    };
    let data = metrics.iter().filter(|metric| metric.name == name).filter_map(|metric| metric.data.as_ref());
    let values: Vec<f64> = data
        .flat_map(|data| match data {
            Data::Sum(sum) => points(&sum.data_points, |point| (has(&point.attributes), number(point))),
            Data::Gauge(gauge) => points(&gauge.data_points, |point| (has(&point.attributes), number(point))),
            Data::Histogram(histogram) => {
                points(&histogram.data_points, |point| (has(&point.attributes), point.count as f64))
            }
            other => panic!("{name} is {other:?}"),
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// The values of the points that are wanted.
fn points<P>(points: &[P], value: impl Fn(&P) -> (bool, f64)) -> Vec<f64> {
    points.iter().map(value).filter_map(|(is_wanted, value)| is_wanted.then_some(value)).collect()
}
