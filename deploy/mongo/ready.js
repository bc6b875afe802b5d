// The healthcheck of docker-compose's MongoDB. On the first run it turns the server into a replica set of one,
// without which there are no change streams; it succeeds once the server takes writes.
// It runs again and again, and each step looks before it acts: being stopped half-way does no harm.

const SET = "rs0";
// Not localhost: under this name the set tells its clients to find it, and the worker is another container.
const HOST = "mongodb:27017";

// Asked of the collection, because rs.status() also says "not initialized" of a set that is still being loaded.
const configuration = db.getSiblingDB("local").getCollection("system.replset").findOne();
if (configuration === null) {
  rs.initiate({ _id: SET, members: [{ _id: 0, host: HOST }] });
}
if (!db.hello().isWritablePrimary) {
  quit(1);
}

// A worker takes a missing source for a wrong setting, and on a new volume every collection is missing.
// Only until a worker has run: if the collection is dropped later, the pipeline has to notice.
const { MONGODB_DATABASE, MONGODB_COLLECTION, STATE_DATABASE } = process.env;
const source = db.getSiblingDB(MONGODB_DATABASE);
const workerHasRun = db.getMongo().getDBNames().includes(STATE_DATABASE);
if (!workerHasRun && !source.getCollectionNames().includes(MONGODB_COLLECTION)) {
  source.createCollection(MONGODB_COLLECTION);
}
