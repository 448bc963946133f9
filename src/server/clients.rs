//! What a server shares with its handles and its clients.

use std::any::Any;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use event_listener::Event as Notify;
use slab::Slab;
use socket2::Socket;

use super::arrivals::Dismissal;
use super::listener::{ListenOptions, Listener, listen};
use crate::actor::delivery::guarded;
use crate::info::Addr;
use crate::transport::Transport;

/// Takes the errors that nobody awaits.
type Report = Arc<dyn Fn(io::Error) + Send + Sync>;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// The last client of a closed server has gone.
    gone: Notify,
    /// Those that wait to be taken one by one.
    arrivals: OnceLock<Dismissal>,
}

/// Something that is dropped before the sockets of a server are closed.
pub(crate) type Guard = Option<Box<dyn Any + Send>>;

pub(crate) struct State {
    guard: Guard,
    /// Bound sockets that do not listen yet.
    pub(crate) bound: Vec<Socket>,
    pub(crate) listeners: Vec<Listener>,
    clients: Slab<Client>,
    closed: bool,
    backlog: i32,
    max_clients: usize,
    report: Report,
    /// Of the task that accepts.
    pub(crate) waker: Option<Waker>,
}

/// One that was accepted.
enum Client {
    /// Its `connection_made` is still running; what was asked of all clients meanwhile.
    Coming(Option<Farewell>),
    /// Its handshake is going on, in the task to be woken.
    Handshaking(Option<Waker>),
    /// The same, for whoever takes the clients one by one.
    Arriving(Option<Waker>),
    /// Its handshake is to end at once.
    Unwanted,
    Connected(Transport),
}

/// How a client is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Farewell {
    Close,
    Abort,
}

impl Farewell {
    fn bid(self, transport: &Transport) {
        match self {
            Self::Close => transport.close(),
            Self::Abort => transport.abort(),
        }
    }
}

impl State {
    /// Whether there are as many clients as there may be. The task that accepts is woken when one goes.
    pub(crate) fn is_full(&self) -> bool {
        self.clients.len() >= self.max_clients
    }
}

/// There may be nobody who reads it.
fn print(err: &io::Error) {
    let _ = writeln!(io::stderr(), "smol-transports: {err}");
}

impl Shared {
    pub(crate) fn new(bound: Vec<Socket>, guard: Guard, options: &ListenOptions, report: Option<Report>) -> Self {
        let state = State {
            guard,
            bound,
            listeners: Vec::new(),
            clients: Slab::new(),
            closed: false,
            backlog: options.backlog,
            max_clients: options.max_clients,
            report: report.unwrap_or_else(|| Arc::new(|err| print(&err))),
            waker: None,
        };
        Self { state: Mutex::new(state), gone: Notify::new(), arrivals: OnceLock::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn start_serving(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the server is closed"));
        }
        let backlog = state.backlog;
        while let Some(socket) = state.bound.first() {
            // One that cannot stays, so that another attempt is not taken for a success.
            listen(socket, backlog)?;
            let socket = state.bound.remove(0);
            state.listeners.push(Listener::new(socket));
        }
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    pub(crate) fn is_serving(&self) -> bool {
        let state = self.lock();
        !state.closed && !state.listeners.is_empty()
    }

    pub(crate) fn sockets(&self) -> Vec<Addr> {
        let state = self.lock();
        let bound = state.bound.iter().filter_map(|socket| Addr::from_sock_addr(&socket.local_addr().ok()?));
        bound.chain(state.listeners.iter().filter_map(|listener| listener.addr().cloned())).collect()
    }

    /// Closes the listening sockets; clients stay, but for those that nobody will take any more.
    pub(crate) fn close(&self) {
        self.stop_listening();
        self.dismiss_arrivals();
    }

    fn dismiss_arrivals(&self) {
        let mut wakers = Vec::new();
        for (_, client) in &mut self.lock().clients {
            if let Client::Arriving(waker) = client {
                wakers.extend(waker.take());
                *client = Client::Unwanted;
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        self.arrivals.get().into_iter().for_each(Dismissal::dismiss);
    }

    /// One more is on the way, and may have missed that the server was closed.
    pub(crate) fn arrives(&self) {
        if self.lock().closed {
            self.dismiss_arrivals();
        }
    }

    fn stop_listening(&self) {
        let mut state = self.lock();
        state.closed = true;
        let guard = state.guard.take();
        let sockets = (std::mem::take(&mut state.bound), std::mem::take(&mut state.listeners));
        let waker = state.waker.take();
        drop(state);
        drop(guard);
        drop(sockets);
        waker.into_iter().for_each(Waker::wake);
        self.gone.notify(usize::MAX);
    }

    /// How many clients there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().clients.len()
    }

    /// Waits until it is closed and the last client has gone.
    pub(crate) async fn wait_closed(&self) {
        loop {
            let listener = self.gone.listen();
            {
                let state = self.lock();
                if state.closed && state.clients.is_empty() {
                    return;
                }
            }
            listener.await;
        }
    }

    /// Ends all clients, also those whose `connection_made` is running at this moment. Handshakes end at once.
    pub(crate) fn end_clients(&self, farewell: Farewell) {
        let mut connected = Vec::new();
        let mut wakers = Vec::new();
        for (_, client) in &mut self.lock().clients {
            match client {
                Client::Coming(asked) => *asked = (*asked).max(Some(farewell)),
                Client::Handshaking(waker) | Client::Arriving(waker) => {
                    wakers.extend(waker.take());
                    *client = Client::Unwanted;
                }
                Client::Unwanted => {}
                Client::Connected(transport) => connected.push(transport.clone()),
            }
        }
        connected.iter().for_each(|transport| farewell.bid(transport));
        wakers.into_iter().for_each(Waker::wake);
        self.arrivals.get().into_iter().for_each(Dismissal::dismiss);
    }

    pub(crate) fn set_arrivals(&self, dismissal: Dismissal) {
        let _ = self.arrivals.set(dismissal);
    }

    pub(crate) fn set_report(&self, report: Report) {
        let replaced = std::mem::replace(&mut self.lock().report, report);
        drop(replaced);
    }

    /// Tells whoever wants to know; a panic of that is nobody's end.
    pub(crate) fn report(&self, err: io::Error) {
        let report = self.lock().report.clone();
        let _ = guarded(|| report(err));
    }

    /// Counts a client from now on. That is under the lock under which it was accepted: whoever closes the server sees
    /// either that it listens or its last client.
    pub(crate) fn admit(self: &Arc<Self>, state: &mut State) -> Place {
        let key = state.clients.insert(Client::Coming(None));
        Place { shared: self.clone(), key }
    }
}

/// The place of a client: it counts until this is dropped.
pub(crate) struct Place {
    shared: Arc<Shared>,
    key: usize,
}

impl Place {
    /// The client has a transport, unless it has gone already.
    pub(crate) fn introduce(&self, transport: &Transport) {
        if transport.mailbox().has_ended() {
            return;
        }
        let mut state = self.shared.lock();
        let place = state.clients.get_mut(self.key);
        let before = place.map(|client| std::mem::replace(client, Client::Connected(transport.clone())));
        drop(state);
        if let Some(Client::Coming(Some(farewell))) = before {
            farewell.bid(transport);
        }
    }

    /// The client can be dismissed before it has a transport.
    pub(crate) fn begin_handshake(&self) {
        self.begin(Client::Handshaking(None));
    }

    /// The same, for whoever takes the clients one by one.
    pub(crate) fn begin_arrival(&self) {
        self.begin(Client::Arriving(None));
    }

    fn begin(&self, stage: Client) {
        if let Some(client) = self.shared.lock().clients.get_mut(self.key) {
            // It may have been asked to end already.
            *client = if matches!(client, Client::Coming(Some(_))) { Client::Unwanted } else { stage };
        }
    }

    /// The handshake is over, and `connection_made` follows.
    pub(crate) fn end_handshake(&self) {
        let before = self.shared.lock().clients.get_mut(self.key).map(|client| {
            // It may have been dismissed at the last moment.
            let asked = matches!(client, Client::Unwanted).then_some(Farewell::Abort);
            std::mem::replace(client, Client::Coming(asked))
        });
        drop(before);
    }

    /// Whether the client was dismissed; else `waker` is told when it is.
    pub(crate) fn is_unwanted(&self, waker: &Waker) -> bool {
        let mut state = self.shared.lock();
        let (is_unwanted, known) = match state.clients.get_mut(self.key) {
            Some(Client::Unwanted) => (true, None),
            Some(Client::Handshaking(known) | Client::Arriving(known)) => (false, known.replace(waker.clone())),
            _ => (false, None),
        };
        drop(state);
        drop(known);
        is_unwanted
    }

    pub(crate) fn report(&self, err: io::Error) {
        self.shared.report(err);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let waker = if state.is_full() { state.waker.take() } else { None };
        let client = state.clients.try_remove(self.key);
        let last = state.closed && state.clients.is_empty();
        drop(state);
        drop(client);
        waker.into_iter().for_each(Waker::wake);
        if last {
            self.shared.gone.notify(usize::MAX);
        }
    }
}
