mod documents;
mod export;
mod metrics;
mod terminal;
mod verdict;
