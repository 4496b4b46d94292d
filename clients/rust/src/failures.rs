//! Reads what the gateway tells of a failure, out of the details of a gRPC status.

use std::time::Duration;

use prost::Message;
use tonic::Status;
use tonic_types::{pb::Status as RichStatus, StatusExt};

use crate::protos::imagevariations::v1::RequestError;

const MOST_TRIES: u32 = 3;
const REQUEST_ERROR: &str = "type.googleapis.com/imagevariations.v1.RequestError";

/// How long to wait before the same call once more, only where the gateway says that it cost nothing and may succeed later.
/// Anything else, a lost connection included, may have been paid for.
pub fn wait_before_retry(status: &Status, try_number: u32) -> Option<Duration> {
    let failure = request_error(status)?;
    let wait = failure.retry_after_ms.unwrap_or(try_number * 1000);
    (failure.should_retry() && try_number < MOST_TRIES).then(|| Duration::from_millis(wait.into()))
}

/// An error with its typed details in words.
pub fn explained(status: &Status) -> String {
    let mut lines = vec![format!("{:?}: {}", status.code(), status.message())];
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        lines.push(format!("reason {}", info.reason));
    }
    for violation in details.bad_request().iter().flat_map(|request| &request.field_violations) {
        lines.push(format!("field {}: {}", violation.field, violation.description));
    }
    if let Some(failure) = request_error(status) {
        for attempt in &failure.attempts {
            lines.push(format!("attempt {}/{}: {}", attempt.provider, attempt.model, attempt.outcome));
        }
        lines.push(format!("request {}", failure.request_id));
    }
    lines.join("\n")
}

/// Everything that the gateway tells of a failure, or none where it is not the gateway's.
fn request_error(status: &Status) -> Option<RequestError> {
    let details = RichStatus::decode(status.details()).ok()?.details;
    let detail = details.iter().find(|detail| detail.type_url == REQUEST_ERROR)?;
    RequestError::decode(detail.value.as_slice()).ok()
}
