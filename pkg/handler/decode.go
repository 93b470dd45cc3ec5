package handler

// DecodeCommand reads the command in m, which was published below prefix ("cv" for "cv.commands.export").
// The error is always a *Refusal.
func DecodeCommand(prefix string, m Message) (Command, error) {
	return Command{}, &Refusal{ID: SeqID(m.Seq), Code: CodeInvalidCommand, Message: "not implemented"}
}
