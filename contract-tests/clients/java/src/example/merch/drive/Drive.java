package example.merch.drive;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** Runs the journey with the client that openapi-generator generated from openapi.yaml. The README.md of contract-tests/clients says what it is given and what it prints. */
public final class Drive {
  private Drive() {}

  public static void main(String[] none) {
    try {
      drive();
    } catch (Difference difference) {
      System.err.println(difference.getMessage());
      System.exit(1);
    } catch (Fault | IOException fault) {
      System.err.println(fault.getMessage());
      System.exit(2);
    } catch (RuntimeException bug) {
      // Exit code 1 would blame the store.
      bug.printStackTrace();
      System.exit(2);
    }
  }

  /** Runs all steps in order, up to the first mismatch. */
  private static void drive() throws Difference, Fault, IOException {
    Variables variables = new Variables();
    variables.keep("unique", environment("MERCH_UNIQUE", "[a-z0-9]{1,14}"));
    variables.keep("sold_out_product", Long.valueOf(environment("MERCH_SOLD_OUT_PRODUCT", "[0-9]{1,9}")));
    Runner runner = new Runner(new Calls(environment("MERCH_URL", "https?://.*[^/]")), variables);
    List<Step> steps = Step.readAll(Path.of(environment("MERCH_JOURNEY", ".+")));
    for (int number = 1; number <= steps.size(); number++) {
      Step step = steps.get(number - 1);
      String reason = step.notIn().get("java");
      if (reason != null) {
        System.out.printf("skipped %d %s %s%n", number, step.operation(), reason);
        continue;
      }
      String where = String.format("step %d, %s \"%s\": ", number, step.operation(), step.name());
      try {
        runner.take(step);
      } catch (Difference difference) {
        throw new Difference(where + difference.getMessage());
      } catch (Fault fault) {
        throw new Fault(where + fault.getMessage());
      }
      System.out.printf("ok %d %s %d %s%n", number, step.operation(), step.expect().status(), step.name());
    }
  }

  private static String environment(String name, String form) throws Fault {
    Map<String, String> environment = System.getenv();
    String value = environment.getOrDefault(name, "");
    if (!value.matches(form)) {
      throw new Fault(
          environment.containsKey(name)
              ? name + ": expected the form " + form + ", got " + value
              : "the variable " + name + " is not set; contract-tests/clients/README.md says what it is");
    }
    return value;
  }
}
