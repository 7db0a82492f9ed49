//! What the operator asks and orders about the queue and the routes.
