//! What the page asks for: its own files, and the notes as JSON. Every request is one function of
//! [`crate::notes`], [`crate::bodies`] or [`crate::collisions`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router, middleware};
use driftless::ChangeFeed;
use futures_util::Stream;
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::bodies::{self, Written};
use crate::collisions;
use crate::guard::own_pages_only;
use crate::node::{Changed, Node, Presence, Status};
use crate::notes::{self, Changes, ItemChanges, NewNote};
use crate::refused::Refused;

/// The largest body of a note that a page may send, and a base beside it.
const BODY_BYTES: usize = 32 << 20;
/// How often the status line is looked after.
const STATUS_EVERY: Duration = Duration::from_millis(400);

/// All that is served: one person's notes at `/`; two people's at `/a/` and `/b/`, and at `/` a page with both.
pub(crate) fn router(nodes: &[Arc<Node>], address: SocketAddr) -> Router {
    let router = match nodes {
        [node] => notes_of(node),
        nodes => nodes.iter().zip(["/a", "/b"]).fold(stage(), |router, (node, at)| {
            router
                .route(at, get(move || async move { Redirect::permanent(&format!("{at}/")) }))
                .nest(&format!("{at}/"), notes_of(node))
        }),
    };
    router
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(address, own_pages_only))
}

fn stage() -> Router {
    let readme = ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], include_str!("../README.md"));
    Router::new()
        .route("/", get(async || asset("stage.html")))
        .route("/README.md", get(async move || readme))
        .route("/{file}", get(named))
}

fn notes_of(node: &Arc<Node>) -> Router {
    Router::new()
        .route("/", get(async || asset("index.html")))
        .route("/{file}", get(named))
        .route("/api/state", get(state))
        .route("/api/notes", get(list).post(add))
        .route("/api/notes/{note}", get(read).patch(change).delete(remove))
        .route("/api/notes/{note}/body", put(write_body))
        .route("/api/notes/{note}/like", post(like))
        .route("/api/notes/{note}/tags/{tag}", put(tag).delete(untag))
        .route("/api/notes/{note}/items", post(add_item))
        .route("/api/items/{item}", patch(change_item).delete(remove_item))
        .route("/api/notebooks", post(add_notebook))
        .route("/api/notebooks/{notebook}", patch(rename_notebook).delete(remove_notebook))
        .route("/api/conflicts", get(conflicts))
        .route("/api/conflicts/choose", post(choose))
        .route("/api/parked", get(parked))
        .route("/api/parked/{notebook}/rename", post(rename_parked))
        .route("/api/parked/{notebook}/merge", post(merge_parked))
        .route("/api/online", post(online))
        .route("/api/presence", put(presence))
        .route("/api/events", get(events))
        .with_state(Arc::clone(node))
}

/// The page's files, built into the program.
#[derive(rust_embed::Embed)]
#[folder = "web/"]
#[exclude = "tests/*"]
#[exclude = "package.json"]
struct Web;

async fn named(Path(file): Path<String>) -> Response {
    asset(&file)
}

fn asset(name: &str) -> Response {
    let Some(file) = Web::get(name) else {
        return (StatusCode::NOT_FOUND, format!("there is no '{name}' here\n")).into_response();
    };
    let kind = match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    };
    ([(header::CONTENT_TYPE, kind)], file.data).into_response()
}

/// An error as the page shows it.
struct Failed(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match self.0.downcast_ref::<Refused>() {
            Some(Refused::NotFound(_)) => StatusCode::NOT_FOUND,
            Some(Refused::Taken(_)) => StatusCode::CONFLICT,
            Some(Refused::Invalid(_)) => StatusCode::BAD_REQUEST,
            None if breaks_a_rule(&self.0) => StatusCode::BAD_REQUEST,
            None => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(error = %self.0, "a request failed");
        }
        (status, Json(json!({ "error": crate::in_words(&self.0) }))).into_response()
    }
}

/// What the tables do not take, such as a colour's name where a 0 or 1 belongs.
fn breaks_a_rule(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    code == Some(rusqlite::ErrorCode::ConstraintViolation)
}

type Answer = Result<Json<Value>, Failed>;
type Of = State<Arc<Node>>;

/// SQLite blocks: this is for a thread that may.
async fn with<T: Send + 'static>(
    node: Arc<Node>,
    work: impl FnOnce(&Node) -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(move || work(&node)).await?
}

/// Does something to the notes.
async fn doing(node: Arc<Node>, work: impl FnOnce(&mut Connection) -> Result<()> + Send + 'static) -> Answer {
    with(node, |node| node.with_notes(work)).await?;
    Ok(Json(json!({})))
}

/// Does something to a note, and shows it.
async fn doing_to(
    node: Arc<Node>,
    note: String,
    work: impl FnOnce(&mut Connection, &str) -> Result<()> + Send + 'static,
) -> Answer {
    let shown = with(node, move |node| {
        node.with_notes(|db| work(db, &note))?;
        show(node, &note)
    });
    Ok(Json(shown.await?))
}

/// A note with its conflicts.
fn show(node: &Node, id: &str) -> Result<Value> {
    node.with_notes(|db| {
        let mut note = notes::get(db, id)?;
        note["conflicts"] = collisions::conflicts(db, Some(id))?.into();
        Ok(note)
    })
}

async fn state(State(node): Of) -> Answer {
    let state = with(node, |node| {
        let (notebooks, tags) = node.with_notes(|db| Ok((notes::notebooks(db)?, notes::tags(db)?)))?;
        Ok(json!({
            "person": node.person(), "alone": node.is_alone(), "notebooks": notebooks, "tags": tags,
            "status": node.status()?,
        }))
    });
    Ok(Json(state.await?))
}

async fn list(State(node): Of, Query(query): Query<notes::Query>) -> Answer {
    let (total, notes) = with(node, move |node| node.with_notes(|db| notes::list(db, &query))).await?;
    Ok(Json(json!({ "total": total, "notes": notes })))
}

async fn add(State(node): Of, Json(note): Json<NewNote>) -> Answer {
    let shown = with(node, move |node| {
        let id = node.with_notes(|db| notes::add(db, &note))?;
        show(node, &id)
    });
    Ok(Json(shown.await?))
}

async fn read(State(node): Of, Path(note): Path<String>) -> Answer {
    Ok(Json(with(node, move |node| show(node, &note)).await?))
}

async fn change(State(node): Of, Path(note): Path<String>, Json(changes): Json<Changes>) -> Answer {
    doing_to(node, note, move |db, note| notes::change(db, note, &changes)).await
}

async fn remove(State(node): Of, Path(note): Path<String>) -> Answer {
    doing(node, move |db| notes::delete(db, &note)).await
}

async fn write_body(State(node): Of, Path(note): Path<String>, Json(written): Json<Written>) -> Answer {
    let body = with(node, move |node| node.with_notes(|db| bodies::write(db, &note, &written)));
    Ok(Json(json!({ "body": body.await? })))
}

async fn like(State(node): Of, Path(note): Path<String>) -> Answer {
    doing_to(node, note, |db, note| notes::like(db, note)).await
}

async fn tag(State(node): Of, Path((note, tag)): Path<(String, String)>) -> Answer {
    doing_to(node, note, move |db, note| notes::tag(db, note, &tag)).await
}

async fn untag(State(node): Of, Path((note, tag)): Path<(String, String)>) -> Answer {
    doing_to(node, note, move |db, note| notes::untag(db, note, &tag)).await
}

#[derive(Deserialize)]
struct NewItem {
    text: String,
}

async fn add_item(State(node): Of, Path(note): Path<String>, Json(item): Json<NewItem>) -> Answer {
    doing_to(node, note, move |db, note| notes::add_item(db, note, &item.text)).await
}

async fn change_item(State(node): Of, Path(item): Path<String>, Json(changes): Json<ItemChanges>) -> Answer {
    doing(node, move |db| notes::change_item(db, &item, &changes)).await
}

async fn remove_item(State(node): Of, Path(item): Path<String>) -> Answer {
    doing(node, move |db| notes::delete_item(db, &item)).await
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

async fn add_notebook(State(node): Of, Json(named): Json<Named>) -> Answer {
    let id = with(node, move |node| node.with_notes(|db| notes::add_notebook(db, &named.name))).await?;
    Ok(Json(json!({ "id": id })))
}

async fn rename_notebook(State(node): Of, Path(id): Path<String>, Json(named): Json<Named>) -> Answer {
    doing(node, move |db| notes::rename_notebook(db, &id, &named.name)).await
}

async fn remove_notebook(State(node): Of, Path(id): Path<String>) -> Answer {
    doing(node, move |db| notes::delete_notebook(db, &id)).await
}

async fn conflicts(State(node): Of) -> Answer {
    Ok(Json(with(node, |node| node.with_notes(|db| collisions::conflicts(db, None))).await?.into()))
}

#[derive(Deserialize)]
struct Chosen {
    note: String,
    column: String,
    value: Value,
    /// Between which values; without it, all.
    seen: Option<Vec<Value>>,
}

async fn choose(State(node): Of, Json(chosen): Json<Chosen>) -> Answer {
    doing(node, move |db| {
        collisions::choose(db, &chosen.note, &chosen.column, &chosen.value, chosen.seen.as_deref())
    })
    .await
}

async fn parked(State(node): Of) -> Answer {
    Ok(Json(with(node, |node| node.with_notes(|db| collisions::parked(db))).await?.into()))
}

async fn rename_parked(State(node): Of, Path(id): Path<String>, Json(named): Json<Named>) -> Answer {
    doing(node, move |db| collisions::rename_parked(db, &id, &named.name)).await
}

async fn merge_parked(State(node): Of, Path(id): Path<String>) -> Answer {
    doing(node, move |db| collisions::merge_parked(db, &id)).await
}

#[derive(Deserialize)]
struct Online {
    online: bool,
}

async fn online(State(node): Of, Json(wanted): Json<Online>) -> Answer {
    let status = with(node, move |node| {
        if wanted.online {
            node.go_online()?;
        } else {
            node.go_offline();
        }
        node.status()
    });
    Ok(Json(serde_json::to_value(status.await?)?))
}

#[derive(Deserialize)]
struct Opened {
    note: Option<String>,
}

async fn presence(State(node): Of, Json(opened): Json<Opened>) -> Answer {
    with(node, move |node| node.set_open(opened.note)).await?;
    Ok(Json(json!({})))
}

/// Tells a page what changes, as long as it listens.
async fn events(State(node): Of) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    // A page that does not read waits with its own; this task then waits too.
    let (sender, receiver) = mpsc::channel::<Event>(64);
    let changes = with(Arc::clone(&node), Node::changes).await?;
    with(Arc::clone(&node), |node| node.listens(true)).await?;
    tokio::spawn(async move {
        tell(&node, changes, &sender).await;
        if let Err(error) = with(node, |node| node.listens(false)).await {
            tracing::warn!(%error, "a page that has gone is still shown to the others");
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (Ok(event), receiver))
    });
    // Often: only by writing to it does one find out that a page has gone.
    let often = KeepAlive::default().interval(Duration::from_secs(2));
    Ok(Sse::new(stream).keep_alive(often))
}

/// Returns when the page has gone, or the engine.
async fn tell(node: &Arc<Node>, mut changes: ChangeFeed, page: &mpsc::Sender<Event>) {
    let (mut status, mut others): (Option<Status>, Option<Vec<Presence>>) = (None, None);
    let mut look = tokio::time::interval(STATUS_EVERY);
    loop {
        let mut events = Vec::new();
        tokio::select! {
            () = page.closed() => return,
            event = changes.next() => {
                let Some(event) = event else { return };
                events.push(match with(Arc::clone(node), |node| Ok(node.told(event))).await {
                    Ok(Some(changed)) => Event::default().event("changed").json_data::<Changed>(changed),
                    _ => Ok(Event::default().event("missed").data("{}")),
                });
            }
            _ = look.tick() => {
                let now = with(Arc::clone(node), |node| Ok((node.status()?, node.others()))).await;
                let Ok((status_now, others_now)) = now else { continue };
                if status.as_ref() != Some(&status_now) {
                    events.push(Event::default().event("status").json_data(&status_now));
                }
                if others.as_ref() != Some(&others_now) {
                    events.push(Event::default().event("presence").json_data(&others_now));
                }
                (status, others) = (Some(status_now), Some(others_now));
            }
        }
        for event in events.into_iter().flatten() {
            if page.send(event).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tables_do_not_take_is_the_callers_mistake() {
        let (_folder, mut db) = notes::tests::tables();
        let id = notes::tests::note(&db, "", "");
        let refused =
            collisions::choose(&mut db, &id, "pinned", &json!(7), None).expect_err("pinned is 0 or 1");
        assert_eq!(Failed(refused).into_response().status(), StatusCode::BAD_REQUEST);
        let broken = db.execute("UPDATE nowhere SET x = 1", []).expect_err("no such table");
        assert_eq!(Failed(broken.into()).into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
