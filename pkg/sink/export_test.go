package sink

// PartBytes is the size of the parts of an upload.
var PartBytes = partBytes
