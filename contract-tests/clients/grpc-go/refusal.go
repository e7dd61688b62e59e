package main

// Requests that violate logging.proto, and the expected errors.

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	loggingv1 "merch.example/clients/grpc-go/gen/merch/logging/v1"
)

// refusal is an invalid first request and the fields that the server must report.
type refusal struct {
	name    string
	request *loggingv1.StreamLogsRequest
	fields  []string
}

func (r refusal) difference(expected, got string) error {
	return &difference{expected + ", to " + r.name, got}
}

// refusals derives invalid requests from a valid event.
func refusals(event *loggingv1.LogMessage) []refusal {
	broken := proto.CloneOf(event)
	broken.Service = ""
	broken.Time = nil
	return []refusal{
		{
			"an event without service and time",
			&loggingv1.StreamLogsRequest{Sequence: 1, Messages: []*loggingv1.LogMessage{broken}},
			[]string{"messages[0].service", "messages[0].time"},
		},
		{"a request without events", &loggingv1.StreamLogsRequest{Sequence: 1}, []string{"messages"}},
		{
			"a stream that does not begin with 1",
			&loggingv1.StreamLogsRequest{Sequence: 2, Messages: []*loggingv1.LogMessage{event}},
			[]string{"sequence"},
		},
	}
}

// refused expects INVALID_ARGUMENT with a google.rpc.BadRequest of exactly these fields, and no
// acknowledgement.
func refused(client loggingv1.LoggingServiceClient, refusal refusal) error {
	ctx, cancel := within()
	defer cancel()
	stream, err := client.StreamLogs(ctx)
	if err != nil {
		return refusal.difference("a stream", err.Error())
	}
	// `Recv` returns the error if the server has ended the stream.
	if err := stream.Send(refusal.request); err != nil && !errors.Is(err, io.EOF) {
		return refusal.difference("to send a request", err.Error())
	}
	response, err := stream.Recv()
	if err == nil {
		return refusal.difference("INVALID_ARGUMENT", fmt.Sprintf("the acknowledgement of %d", response.GetAcknowledgedSequence()))
	}
	if code := status.Code(err); code != codes.InvalidArgument {
		return refusal.difference("INVALID_ARGUMENT", err.Error())
	}
	named := map[string]bool{}
	for _, detail := range status.Convert(err).Details() {
		if bad, is := detail.(*errdetails.BadRequest); is {
			for _, violation := range bad.GetFieldViolations() {
				named[violation.GetField()] = violation.GetDescription() != ""
			}
		}
	}
	for _, field := range refusal.fields {
		if !named[field] {
			return refusal.difference("a google.rpc.BadRequest that says what is expected at "+field, fmt.Sprint(named))
		}
	}
	if len(named) != len(refusal.fields) {
		return refusal.difference("no fields named but "+strings.Join(refusal.fields, ", "), fmt.Sprint(named))
	}
	return nil
}
