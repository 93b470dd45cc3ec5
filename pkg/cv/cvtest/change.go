package cvtest

import (
	"github.com/google/uuid"
)

// AddProject makes a project and returns the ids of what is in it. Ids depend on Options.Seed and on how many projects were added
// before, not on names.
func (s *Server) AddProject(spec ProjectSpec) *Project { panic("not yet") }

// Sample makes the demonstration account: projects of all kinds with drawn pictures, iterations with snapshots (published, untrained,
// with images that are no longer in the workspace), regions, metadata, exports and stored predictions. It returns them in order.
func (s *Server) Sample() []*Project { panic("not yet") }

// AddImage adds an image to the workspace, newer than all others there, and returns its id.
func (s *Server) AddImage(project uuid.UUID, spec ImageSpec) uuid.UUID { panic("not yet") }

// AddImages adds n tagged images (the project's tags in turn) and returns their ids.
func (s *Server) AddImages(project uuid.UUID, n, imageBytes int) []uuid.UUID { panic("not yet") }

// RemoveImage removes images from the workspace only.
func (s *Server) RemoveImage(project uuid.UUID, images ...uuid.UUID) { panic("not yet") }

// EraseImage removes images from the workspace and every iteration.
func (s *Server) EraseImage(project uuid.UUID, images ...uuid.UUID) { panic("not yet") }

// AddTag adds a regular tag to the workspace and returns its id.
func (s *Server) AddTag(project uuid.UUID, name string) uuid.UUID { panic("not yet") }

// RemoveTag removes tags from the workspace, with their links and regions; the images stay.
func (s *Server) RemoveTag(project uuid.UUID, tags ...uuid.UUID) { panic("not yet") }

// AddIteration trains the workspace as it is now.
func (s *Server) AddIteration(project uuid.UUID, spec IterationSpec) uuid.UUID { panic("not yet") }

// RemoveIteration removes iterations, published or not.
func (s *Server) RemoveIteration(project uuid.UUID, iterations ...uuid.UUID) { panic("not yet") }

// SetStatus sets an iteration's status, for example StatusTraining and later StatusCompleted.
func (s *Server) SetStatus(project, iteration uuid.UUID, status string) { panic("not yet") }

// Publish publishes an iteration under a name; an empty name unpublishes it.
func (s *Server) Publish(project, iteration uuid.UUID, name string) { panic("not yet") }

// AddPrediction stores a prediction of an iteration, newer than all others, and returns its id.
func (s *Server) AddPrediction(project, iteration uuid.UUID) uuid.UUID { panic("not yet") }

// RemovePrediction removes stored predictions; without ids all of the project.
func (s *Server) RemovePrediction(project uuid.UUID, predictions ...uuid.UUID) { panic("not yet") }

// RemoveProject removes a project with everything in it, published iterations or not.
func (s *Server) RemoveProject(projects ...uuid.UUID) { panic("not yet") }

// SetDRMode makes a project read-only, or ends that.
func (s *Server) SetDRMode(project uuid.UUID, on bool) { panic("not yet") }

// SetKey replaces the training key demanded from now on.
func (s *Server) SetKey(key string) { panic("not yet") }
