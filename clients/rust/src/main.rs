//! Makes variations of a picture and saves each as soon as it is there.
//!
//! cargo run --release -- --n 3 --size 512x512 --out out photo.jpg

#[cfg(test)]
mod conformance;
mod failures;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::Request;

use protos::imagevariations::v1 as pb;

use pb::create_image_variation_request::Source;
use pb::image_variation_service_client::ImageVariationServiceClient;
use pb::stream_image_variation_response::Event;

// Everything that is in the descriptor set; this program needs a part of it.
#[allow(dead_code, clippy::all)]
mod protos {
    tonic::include_proto!("protos");
}

/// gRPC takes 4 MB by default. Four PNG files of 1024x1024 in one answer are more.
const LARGEST_MESSAGE: usize = 100 << 20;

#[derive(Parser)]
struct Flags {
    image: PathBuf,
    #[arg(long, default_value = "localhost:50051")]
    target: String,
    #[arg(long)]
    tls: bool,
    #[arg(long, default_value = "")]
    model: String,
    #[arg(long, default_value_t = 1)]
    n: i32,
    #[arg(long, default_value = "auto")]
    size: String,
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Seconds for everything, retries included.
    #[arg(long, default_value_t = 300.0)]
    timeout: f64,
    /// One answer instead of a stream.
    #[arg(long)]
    whole: bool,
    #[arg(long, env = "IMAGE_VARIATIONS_API_KEY", hide_env_values = true)]
    key: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<tonic::Status>() {
                Some(status) => eprintln!("{}", failures::explained(status)),
                None => eprintln!("{error}"),
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let scheme = if flags.tls { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", flags.target))?;
    if flags.tls {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
    }
    let client = ImageVariationServiceClient::new(endpoint.connect().await?).max_decoding_message_size(LARGEST_MESSAGE);
    let message = pb::CreateImageVariationRequest {
        source: Some(Source::Image(tokio::fs::read(&flags.image).await?.into())),
        model: flags.model.clone(),
        n: Some(flags.n),
        size: flags.size.clone(),
        response_format: "b64_json".into(),
        ..Default::default()
    };
    let authorization: Option<MetadataValue<Ascii>> =
        flags.key.as_ref().map(|key| format!("Bearer {key}").parse()).transpose()?;
    let deadline = Instant::now() + Duration::from_secs_f64(flags.timeout);
    let mut try_number = 1;
    loop {
        let mut request = Request::new(message.clone());
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        if let Some(authorization) = &authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        let done = if flags.whole {
            create(client.clone(), request, &flags.out).await
        } else {
            stream(client.clone(), request, &flags.out).await
        };
        let Err(error) = done else { return Ok(()) };
        match error.downcast_ref().and_then(|status| failures::wait_before_retry(status, try_number)) {
            Some(wait) if Instant::now() + wait < deadline => tokio::time::sleep(wait).await,
            _ => return Err(error),
        }
        try_number += 1;
    }
}

/// Saves images as they come and tells what happens meanwhile.
async fn stream(
    mut client: ImageVariationServiceClient<Channel>,
    request: Request<pb::CreateImageVariationRequest>,
    directory: &Path,
) -> Result<(), Box<dyn Error>> {
    let mut events = client.stream_image_variation(request).await?.into_inner();
    while let Some(message) = events.message().await? {
        match message.event {
            Some(Event::AttemptStarted(started)) => println!("trying {}/{}", started.provider, started.model),
            Some(Event::AttemptFailed(failed)) => println!("failed: {}", failed.reason),
            Some(Event::ImageCompleted(image)) => save(&image, directory).await?,
            Some(Event::Completed(answer)) => println!("done by {}", provider(&answer)),
            _ => {} // Signs of life, and events that are newer than this program.
        }
    }
    Ok(())
}

/// Saves the images of one answer.
async fn create(
    mut client: ImageVariationServiceClient<Channel>,
    request: Request<pb::CreateImageVariationRequest>,
    directory: &Path,
) -> Result<(), Box<dyn Error>> {
    let answer = client.create_image_variation(request).await?.into_inner();
    for image in &answer.data {
        save(image, directory).await?;
    }
    println!("done by {}", provider(&answer));
    Ok(())
}

async fn save(image: &pb::ImageVariation, directory: &Path) -> std::io::Result<()> {
    let path = directory.join(format!("{}.png", image.index()));
    tokio::fs::create_dir_all(directory).await?;
    tokio::fs::write(&path, image.b64_json()).await?;
    println!("saved {}", path.display());
    Ok(())
}

fn provider(answer: &pb::CreateImageVariationResponse) -> &str {
    answer.extra_fields.as_ref().map_or("", |extra| &extra.provider)
}
