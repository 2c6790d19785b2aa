//! The same metrics in OpenTelemetry's terms.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
        metric::Data, number_data_point,
    },
};
use prometheus::proto::{self, MetricFamily, MetricType};

use super::{Metrics, families};

impl Metrics {
    /// Everything, as totals from `started` to `now`, both in nanoseconds since 1970.
    pub fn otlp(&self, started: u64, now: u64) -> Vec<Metric> {
        let families = self.registry.gather();
        families
            .iter()
            .map(|family| metric(family, started, now))
            .collect()
    }
}

fn metric(family: &MetricFamily, started: u64, now: u64) -> Metric {
    let known = families::ALL.iter().find(|known| known.name == family.name());
    let points = family.get_metric().iter();
    let number = |metric: &proto::Metric, value| NumberDataPoint {
        attributes: attributes(metric),
        start_time_unix_nano: started,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: points
                .map(|metric| number(metric, metric.get_counter().get_value()))
                .collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: points.map(|metric| histogram(metric, started, now)).collect(),
            aggregation_temporality: cumulative,
        }),
        _ => Data::Gauge(Gauge {
            data_points: points
                .map(|metric| number(metric, metric.get_gauge().get_value()))
                .collect(),
        }),
    };
    Metric {
        name: family.name().to_owned(),
        description: family.help().to_owned(),
        // Units are written by UCUM there: what is counted stands in braces.
        unit: known.map_or_else(String::new, |known| match known.unit {
            "seconds" => "s".to_owned(),
            "1" => "1".to_owned(),
            unit => format!("{{{}}}", unit.replace(' ', "_")),
        }),
        data: Some(data),
        ..Metric::default()
    }
}

/// Prometheus counts each bucket with all below it, OpenTelemetry by itself, and has one more, for what is above all bounds.
fn histogram(metric: &proto::Metric, started: u64, now: u64) -> HistogramDataPoint {
    let histogram = metric.get_histogram();
    let finite = histogram
        .get_bucket()
        .iter()
        .filter(|bucket| bucket.upper_bound().is_finite());
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in finite {
        bounds.push(bucket.upper_bound());
        counts.push(bucket.cumulative_count().saturating_sub(below));
        below = bucket.cumulative_count();
    }
    let count = histogram.get_sample_count();
    counts.push(count.saturating_sub(below));
    HistogramDataPoint {
        attributes: attributes(metric),
        start_time_unix_nano: started,
        time_unix_nano: now,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    }
}

fn attributes(metric: &proto::Metric) -> Vec<KeyValue> {
    let attribute = |label: &proto::LabelPair| KeyValue {
        key: label.name().to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(label.value().to_owned())),
        }),
        ..KeyValue::default()
    };
    metric.get_label().iter().map(attribute).collect()
}
