"""Pure decisions: settings, facts and catalogue in; choice, plan and due phases out."""
