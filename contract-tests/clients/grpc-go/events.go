package main

// The log events that this program sends, and their requests.

import (
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	loggingv1 "merch.example/clients/grpc-go/gen/merch/logging/v1"
)

// newEvents returns events of each level, with and without optional fields.
func newEvents(count int, unique string) ([]*loggingv1.LogMessage, error) {
	levels := []loggingv1.Level{loggingv1.Level_LEVEL_DEBUG, loggingv1.Level_LEVEL_INFO, loggingv1.Level_LEVEL_WARN, loggingv1.Level_LEVEL_ERROR}
	events := make([]*loggingv1.LogMessage, count)
	for index := range events {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		event := &loggingv1.LogMessage{
			Id:       id.String(),
			Time:     timestamppb.Now(),
			Service:  "probe",
			Instance: "grpc-go-" + unique,
			Level:    levels[index%len(levels)],
			Event:    "probe_grpc_go",
			Actor:    "anonymous",
			Message:  fmt.Sprintf("The event %d of %d: “größer”, 商店", index+1, count),
		}
		if index%2 == 1 {
			event.Actor = "user:" + id.String()
			event.Subject = fmt.Sprintf("product:%d", index)
			event.RequestId = fmt.Sprintf("%s-%d", unique, index)
			event.TraceId = fmt.Sprintf("%032x", index)
			event.Attributes = map[string]string{"reason": "probe", "quantity": fmt.Sprint(index)}
		}
		events[index] = event
	}
	return events, nil
}

// requests are numbered from 1 and hold one, two, three, one, … events: several requests, fewer
// than events.
func requests(events []*loggingv1.LogMessage) []*loggingv1.StreamLogsRequest {
	var all []*loggingv1.StreamLogsRequest
	for size := 1; len(events) > 0; size = size%3 + 1 {
		size := min(size, len(events))
		all = append(all, &loggingv1.StreamLogsRequest{Sequence: uint64(len(all) + 1), Messages: events[:size]})
		events = events[size:]
	}
	return all
}
