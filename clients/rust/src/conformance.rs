//! Reads the binary form of the conformance vectors: nothing in them is unknown, and what they mean is what is read.

use std::path::Path;

use prost::Message;
use tonic_types::pb::Status;

use crate::pb::create_image_variation_request::Source;
use crate::pb::stream_image_variation_response::Event;
use crate::pb::{
    CreateImageVariationRequest, CreateImageVariationResponse, ListModelsResponse, StreamImageVariationResponse,
};

fn vectors() -> Vec<String> {
    let names = std::fs::read_dir("../../protos/testdata").unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.to_str()?.strip_suffix(".binpb").map(String::from)).collect()
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(Path::new("../../protos/testdata").join(format!("{name}.binpb"))).unwrap()
}

fn decoded<T: Message + Default>(name: &str) -> T {
    T::decode(bytes(name).as_slice()).unwrap()
}

fn encoded_again(name: &str) -> Vec<u8> {
    match name.split('_').next().unwrap() {
        "request" => decoded::<CreateImageVariationRequest>(name).encode_to_vec(),
        "response" => decoded::<CreateImageVariationResponse>(name).encode_to_vec(),
        "event" => decoded::<StreamImageVariationResponse>(name).encode_to_vec(),
        "models" => decoded::<ListModelsResponse>(name).encode_to_vec(),
        "error" => decoded::<Status>(name).encode_to_vec(),
        other => panic!("{other} is no kind of vector known here"),
    }
}

#[test]
fn every_field_is_known() {
    for name in vectors() {
        // The maps in these have no order, and the field of the future is one that nobody knows.
        if !matches!(name.as_str(), "request_everything" | "response_everything" | "event_of_the_future") {
            assert_eq!(encoded_again(&name), bytes(&name), "{name}");
        }
    }
}

#[test]
fn requests_mean_what_they_say() {
    let request: CreateImageVariationRequest = decoded("request_everything");
    assert_eq!((request.n, request.seed, request.strength), (Some(10), Some(4294967295), Some(0.35)));
    assert_eq!(request.prompt, "Ein Café bei Nacht,\n夜のカフェ 🌃");
    assert_eq!(request.fallbacks[1].model, "local/vary");
    let zeros: CreateImageVariationRequest = decoded("request_zeros");
    assert_eq!((zeros.n, zeros.seed, zeros.strength), (Some(0), Some(0), Some(0.0)));
    assert_eq!(zeros.source, Some(Source::Image(Default::default())));
    let linked: CreateImageVariationRequest = decoded("request_image_url");
    assert_eq!(linked.source, Some(Source::ImageUrl("https://example.org/photo.jpg".into())));
    assert_eq!(linked.n, None);
}

#[test]
fn events_mean_what_they_say() {
    let failed: StreamImageVariationResponse = decoded("event_failed");
    let Some(Event::Failed(error)) = failed.event else { panic!("{failed:?}") };
    assert_eq!((error.should_retry, error.retry_after_ms), (Some(false), Some(1500)));
    assert_eq!(error.attempts[0].outcome, "unavailable");
    let future: StreamImageVariationResponse = decoded("event_of_the_future");
    assert_eq!((future.r#type.as_str(), future.event), ("image_variation.something_new", None));
}
