"""The centre's pages: who may see and do what, and the server that shows it. See docs/centre-pages.md."""
