package verify

// What is read into memory at once. What is larger is a finding: the product writes nothing that
// comes near.
const (
	maxStatement = 16 << 20  // bytes of a statement: receipt, summary, request, verification
	maxDocument  = 16 << 20  // bytes of one of the service's documents, such as tags.json
	maxRecord    = 16 << 20  // bytes of a line of images.jsonl and its like
	maxLine      = 64 << 10  // bytes of a line of deleted.jsonl and bag-info.txt
	maxStream    = 512 << 20 // bytes of inventory.json and plan.json, which are read piece by piece
	maxPiece     = 1 << 20   // bytes of a piece
	maxDepth     = 100       // of JSON that is skipped
	maxTagFiles  = 100_000   // files outside data/, most of them pages
	maxPage      = 64 << 20  // bytes of a page below index.html, of which only the digest is compared
	maxProjects  = 10_000    // projects of a plan or an inventory
	maxListed    = 1_000_000 // iterations and models of an inventory that are listed one by one
	maxLines     = 64 << 30  // bytes of a file that is read line by line

	// A text of many small values takes many times its length in memory.
	maxValues    = maxDocument / 4 // JSON values of a text; ends of objects and lists count too
	objectValues = 8               // how many values an object counts as, besides its own

	// What a command can name.
	maxScopeWords = 100 // projects, and objects of metadata; there are fewer categories
	maxScopeIDs   = 10_000

	maxPlanned     = 10_000_000
	maxPredictions = 4_000_000 // ids that DeletePrediction was called with
	maxBare        = 1_000_000 // records of a file that have no blob
	maxPerFile     = 100       // problems of one file, after which its content is not looked at further
	maxShown       = 400       // bytes of the bag's text in a problem
)
