//! The figures for Prometheus.

mod house;

use house::house;
use web::axum::body::Body;
use web::axum::http::Request;

#[tokio::test(start_paused = true)]
async fn sessions_queue_and_ways_out_are_shown_as_prometheus_takes_them() {
    let house = house().await;
    let get = async || {
        let request = Request::get("/metrics").body(Body::empty()).expect("a request");
        let mut router = role_mail::http::router(house.site.clone());
        let response = tower_service::Service::call(&mut router, request).await.expect("it answers");
        let bytes = web::axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("bytes");
        String::from_utf8(bytes.to_vec()).expect("text")
    };
    let text = get().await;
    assert_eq!(watch::metrics::lint(&text), Vec::<String>::new(), "{text}");
    for want in [
        "postroad_sessions_open{front=\"imap\"} 0",
        "postroad_queue_messages{state=\"held\"} 0",
        "postroad_queue_oldest_seconds 0",
    ] {
        assert!(text.contains(want), "{want} is not in\n{text}");
    }
}
